"""The pages in a real browser: Debian's chromium, driven by Playwright.

Without chromium on the PATH these tests are skipped, and say so.
"""
