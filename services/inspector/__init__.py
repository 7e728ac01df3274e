"""Reads programs before they are posted: what may run on the market, and what a run takes."""
