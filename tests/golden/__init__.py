"""Example runs, and the pages they must give byte for byte. `UPDATE_GOLDEN=1` writes the pages anew."""
