"""ms-swift's names, as far as the plug-in uses them; ``make integrations`` compares the real."""
