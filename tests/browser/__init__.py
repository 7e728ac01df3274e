"""The page as a person sees it: Chromium on a market that runs."""
