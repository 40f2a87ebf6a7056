"""The pages in a real browser. Needs Debian's chromium; skips, and says so, without it."""
