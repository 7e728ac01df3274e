"""The market in a browser: Streamlit scripts that read views and send commands, and the process that serves them."""
