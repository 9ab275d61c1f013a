"""Chinese clinical text: normalisation, tokeniser, lexicon, guard, confusions and evaluation noise."""
