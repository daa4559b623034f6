"""The figures of `docs/parameters.md` that need nothing but Python's standard library.

    python3 crypto/estimate/independent.py

The primal attack is computed here from its textbook condition, independently of the
lattice-estimator; everything else is exact.
"""

from math import comb, e, isqrt, log, log2, pi, sqrt

Q = 2**64 - 2**32 + 1
N = 4096
ETA = 80
COEFFICIENTS = 2**24
COMMITTEE, COLLUDING = 96, 31


def noise_bound(members):
    """E(n) = ceil(10.5 * 6.33 * sqrt(n)), in integers as `ParamSet::noise_bound`."""
    square = 66465**2 * members
    root = isqrt(square)
    root += root * root != square
    return -(-root // 1000)


def log2_noise_failure(members):
    """log2 of the chance that one sum of noise exceeds its bound: an exact binomial tail."""
    bits = 2 * ETA * members
    ones = ETA * members + noise_bound(members) + 1
    term, total = comb(bits, ones), 0
    while ones <= bits and term.bit_length() + 80 > total.bit_length():
        total += term
        term = term * (bits - ones) // (ones + 1)
        ones += 1
    return log2(2 * total) - bits


def conditional_deviation(total):
    """Deviation of one of two noises whose 2 * 160 bits hold `total` ones: hypergeometric."""
    bits = 2 * ETA
    share = total / (2 * bits)
    return sqrt(bits * share * (1 - share) * bits / (2 * bits - 1))


def lanes(bits, members):
    """Values to a coefficient, and the distance between messages."""
    base, power, count = members * (2**bits - 1) + 1, 1, 0
    while Q // (power * base) > 2 * noise_bound(members):
        power, count = power * base, count + 1
    return count, Q // power


def log2_bad_committee(members, colluders):
    """log2 of the chance that a drawn committee has more colluders than it survives."""
    drawn = range(COLLUDING + 1, min(colluders, COMMITTEE) + 1)
    ways = sum(comb(colluders, i) * comb(members - colluders, COMMITTEE - i) for i in drawn)
    return log2(ways) - log2(comb(members, COMMITTEE)) if ways else float("-inf")


def primal(deviation):
    """The least BKZ block size beta with sigma * sqrt(beta) <= delta^(2 beta - d - 1) * q^(m/d),
    d = m + N + 1 (Alkim, Ducas, Pöppelmann, Schwabe 2016), for a secret in normal form: a uniform
    secret is exchanged for noise by N of the samples, of which there are plenty."""
    for beta in range(100, 4000):
        delta = log2(beta / (2 * pi * e) * (pi * beta) ** (1 / beta)) / (2 * (beta - 1))
        best = int(sqrt(N * log2(Q) / delta)) - N
        for samples in range(max(1, best - 300), max(2, best + 300), 10):
            dimension = samples + N + 1
            found = log2(deviation) + log2(beta) / 2
            if found <= delta * (2 * beta - dimension - 1) + log2(Q) * samples / dimension:
                return beta, dimension
    raise ValueError("no block size below 4000 suffices")


def matzov(beta, dimension):
    """log2 of the gates of progressive BKZ by the constants of the estimator's MATZOV model (list
    decoding, classical), with dimensions for free."""
    sieve = beta - beta * log(4 / 3) / log(beta / (2 * pi * e))
    return 0.29613500308205365 * sieve + 20.387885985467914 + log2(5.46**2 * (dimension - beta))


def main():
    print("lanes: bits, members -> values to a coefficient, delta, 2 E(n), bytes a value")
    for bits in (8, 16, 24, 32):
        for members in (3, 4, 7, 16, 64, 100, 1000):
            count, delta = lanes(bits, members)
            bound = 2 * noise_bound(members)
            print(f"  {bits:2} {members:4} -> {count} {delta} {bound} {8 / count:.2f}")
    print("noise: members, E(n), log2 of failure of one coefficient and of any of 2^24")
    for members in (1, 3, 4, 16, 64, 100, 1000, 1024):
        failure = log2_noise_failure(members)
        step = failure + log2(COEFFICIENTS)
        print(f"  {members:4} {noise_bound(members):4} {failure:.1f} {step:.1f}")
    print("noise of one of two honest members, their sum being known: sum, deviation")
    for total in (0, 20, 47, 100, 159, 160):
        print(f"  {total:3} {conditional_deviation(2 * ETA + total):.2f}")
    print("committee of 96: members, share of colluders, log2 of more than 31 drawn")
    for members in (100, 200, 500, 1000):
        for percent in (5, 10, 15, 20, 25, 30):
            chance = log2_bad_committee(members, members * percent // 100)
            print(f"  {members:4} {percent:2} % {chance:.1f}")
    print("primal attack: deviation, beta, dimension, core-SVP classical and quantum, MATZOV gates")
    for deviation in (sqrt(40), 4.48, conditional_deviation(2 * ETA + 47)):
        beta, dimension = primal(deviation)
        gates = matzov(beta, dimension)
        line = f"2^{0.292 * beta:.0f} 2^{0.265 * beta:.0f} 2^{gates:.0f}"
        print(f"  {deviation:.2f} {beta} {dimension} {line}")


if __name__ == "__main__":
    main()
