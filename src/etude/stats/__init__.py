"""Intervals, paired comparison, the ladder's joint intervals, and power. Pure functions of
arrays.
"""

from etude.stats.agreement import kappa
from etude.stats.intervals import estimate, estimate_known, estimate_sample, wilson
from etude.stats.ladder import (
    JointIntervals,
    choose,
    choose_unbeaten,
    compute_joint_intervals,
    compute_nested_intervals,
)
from etude.stats.paired import (
    ALPHA,
    EXACT,
    PairedTest,
    compare_paired,
    estimate_difference,
    measure_disagreement,
)
from etude.stats.power import (
    DETECT,
    MOST_ADVISED,
    rows_to_decide,
    smallest_detectable,
    smallest_difference,
    smallest_ever_detectable,
)
from etude.stats.sample import (
    FloatArray,
    UnitSums,
    make_average_sample,
    make_f1_sample,
    make_kappa_sample,
    make_label_lists_sample,
    make_label_sample,
    make_score_sample,
)
