"""What the plugin meets of Axolotl 0.19.0, and no more; its signatures are in signatures.json."""
