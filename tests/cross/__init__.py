"""Every board builds the paper's networks; nothing is executed here."""
