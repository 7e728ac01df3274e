"""Every page and state, run by Streamlit's own test runner against recorded logs: no browser, no market."""
