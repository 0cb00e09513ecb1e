"""More rows, written by a bigger model from the training rows: `etude make`"""

from etude.make.making import MadeRows, make_rows
