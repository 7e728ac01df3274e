"""What people look at: the market at a position, read models and replay behind one form."""
