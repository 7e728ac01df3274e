"""Programs as bytes: how clients make them, what they may hold, what one run takes and how equal ones are known."""
