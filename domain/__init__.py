"""The rules of the market: pure, without clock, I/O or driver."""
