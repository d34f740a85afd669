"""Follow the site's pages and yield requests and items.

replays   walk the search of the replay site and fetch every replay it lists
"""
