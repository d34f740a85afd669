"""For scrapyd-deploy, which wants this file; everything is in pyproject.toml."""

from setuptools import setup

setup()
