"""The pages. Each draws itself from the view that it is given, and says what it is about."""
