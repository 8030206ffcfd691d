"""Words and their opposites, and the phrases in which a word has none."""

from __future__ import annotations

from eci.miners.edits.page import listed

# Either word can stand for the other.
_BOTH_WAYS = """
increase decrease, increases decreases, increased decreased, increasing decreasing, increasingly
decreasingly, higher lower, highest lowest, high low, larger smaller, largest smallest, longer shorter,
longest shortest, faster slower, stronger weaker, strong weak, strongly weakly, older younger, earlier
later, better worse, best worst, more less, maximum minimum, maximal minimal, positive negative,
positively negatively, before after, early late, inhibit activate, inhibits activates, inhibited
activated, inhibition activation, inhibiting activating, inhibitor activator, inhibitors activators,
inhibitory stimulatory, up down, suppress enhance, suppresses enhances, suppressed enhanced, suppressing
enhancing, suppression enhancement, promote prevent, promotes prevents, promoted prevented, promoting
preventing, improve worsen, improves worsens, improved worsened, improving worsening, upregulate
downregulate, upregulates downregulates, upregulated downregulated, upregulation downregulation, attenuate
amplify, attenuates amplifies, attenuated amplified, facilitate hinder, facilitates hinders, accelerates
delays, accelerated delayed, supports contradicts, confirm refute, confirms refutes, confirmed refuted,
overestimate underestimate, overestimates underestimates, overestimated underestimated, presence absence,
agonist antagonist, agonists antagonists, susceptible resistant, susceptibility resistance, significant
insignificant, sufficient insufficient, effective ineffective, efficient inefficient, likely unlikely,
able unable, stable unstable, safe unsafe, necessary unnecessary, adequate inadequate, mild severe, acute
chronic, benign malignant, innate adaptive, endogenous exogenous, dominant recessive, reversible
irreversible, homozygous heterozygous, anterior posterior, proximal distal, dorsal ventral, systolic
diastolic, intracellular extracellular, maternal paternal, hydrophilic hydrophobic, left right, saturated
unsaturated, upstream downstream, male female, males females, men women, boys girls, symptomatic
asymptomatic, hypertension hypotension, hypertensive hypotensive, hyperglycemia hypoglycemia, survival
mortality, beneficial harmful, with without, laminar turbulent, subsonic supersonic, viscous inviscid,
compressible incompressible, steady unsteady, internal external, inner outer, horizontal vertical, linear
nonlinear, symmetric asymmetric, symmetrical asymmetrical, true false, valid invalid, empty nonempty,
mutable immutable, enabled disabled, enable disable, enables disables, include exclude, includes excludes,
including excluding, ascending descending, synchronous asynchronous, successful unsuccessful, successfully
unsuccessfully, always never, optional required, inside outside, leading trailing, relative absolute,
uppercase lowercase, compress decompress, signed unsigned, first last, direct indirect, above below
"""
# The first word gives way to the second, which has another opposite, or none.
_ONE_WAY = """
greater lower, greatest lowest, fewer more, reduce increase, reduces increases, reduced increased,
reducing increasing, reduction increase, reductions increases, elevated reduced, improvement
deterioration, improvements deteriorations, stimulate inhibit, stimulates inhibits, stimulated inhibited,
stimulation inhibition, induce prevent, induces prevents, induced prevented, inducing preventing, impair
enhance, impairs enhances, impaired enhanced, impairing enhancing, prevention promotion, protective
harmful, doubled halved, abolished preserved, ameliorated aggravated, exacerbated alleviated, exacerbates
alleviates, sometimes never, raise return, raises returns, unchanged altered, rapidly slowly, rapid slow,
decline increase, declined increased
"""
# Words that belong together: with one of them swapped they are nonsense, or mean something else.
_FIXED = """
high school, high schools, high throughput, high resolution, high performance, high speed, high fidelity,
high quality, high content, high end, higher order, higher education, lower order, low back, low end,
lower limb, lower limbs, lower extremity, lower extremities, lower bound, lower case, lower surface, lower
wing, to lower, can lower, may lower, not lower, could lower, would lower, no longer, any longer, no more,
any more, once more, the more, the less, and after, or after, ever before, never before, than before, as
before, looked after, look after, named after, positive control, positive predictive, negative predictive,
gram positive, gram negative, severe acute, acute respiratory, acute myocardial, internal medicine, free
survival, best known, the best, at best, to better, better known, better understand, better understanding,
as early, early as, not always, almost always, improved to, reduced to, increased to, prevented from, long
term, fail safe, induced by, weak reference, weak references, strong reference, without any, without loss,
without doubt, not effective, not significant, not sufficient, not necessary, not likely, not increase,
not reduce, not increased, not reduced, not able, diet induced, more likely, less likely, most likely,
very likely, extracellular trap, extracellular traps, extracellular matrix, extracellular vesicles, steady
state, inner ear
"""
_ITEMS = "item items element elements line lines character argument value occurrence entry byte field"
_SIDES = "ventricular ventricle atrial atrium hand side lung kidney hemisphere arm leg eye breast hippocampus"
_PEOPLE = (
    "patients mice subjects individuals women men people children adults participants cells those persons "
    "infants rats animals adolescents mothers boys girls wings bodies tumors tumours families cohorts"
)
_EXCEPTIONS = "an a valueerror typeerror keyerror indexerror oserror runtimeerror attributeerror"
# What must come next for a word to have the sense that has an opposite.
_NEXT = {
    "more less": "than likely effective efficient frequent frequently common severe often",
    "above below": "the a an this normal average",
    "up down": "regulated regulation regulates regulate regulating",
    "first last": _ITEMS,
    "left right": _SIDES,
    "early late": "stage stages phase phases onset diagnosis childhood life",
    "resistance susceptibility resistant susceptible likely unlikely able unable": "to",
    "leading trailing": "zero zeros space spaces whitespace newline slash character characters",
    "relative absolute": "risk path paths url urls name names import imports",
    "direct indirect": "effect effects role interaction contact comparison evidence",
    "inside outside": "the a an this",
    "signed unsigned": "integer integers value values int long",
    "raise raises": _EXCEPTIONS,
    "optional required": "argument arguments parameter parameters keyword field",
}
# What must come before it.
_PREVIOUS = {"with without": _PEOPLE}


def _pairs(lines: str) -> list[tuple[str, str]]:
    return [(word, other) for word, other in (pair.split() for pair in lines.split(","))]


def _words(table: dict[str, str]) -> dict[str, frozenset[str]]:
    return {word: listed(near) for words, near in table.items() for word in words.split()}


OPPOSITES = {
    **{other: word for word, other in _pairs(_BOTH_WAYS)},
    **dict(_pairs(_ONE_WAY) + _pairs(_BOTH_WAYS)),
}
FIXED = frozenset(" ".join(phrase.split()) for phrase in _FIXED.split(","))
NEXT = _words(_NEXT)
PREVIOUS = _words(_PREVIOUS)
