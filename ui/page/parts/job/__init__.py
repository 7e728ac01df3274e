"""The parts of a job's page that have widgets of their own."""
