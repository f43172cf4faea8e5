"""Front doors: the command line. No science in here."""
