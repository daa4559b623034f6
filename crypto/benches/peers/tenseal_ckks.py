"""The peer of `benches/encryption.rs`: TenSEAL's CKKS on one core.

    pip install tenseal
    taskset -c 0 python3 crypto/benches/peers/tenseal_ckks.py

N = 8192 with moduli [60, 40, 40] and scale 2^40: 4096 values to a ciphertext. For values of 16 and
of 24 bits, prints how many are encrypted (and serialized) per second, the bytes per value on the
wire, and the largest error of a sum of four ciphertexts, in units of the last bit.

Rates are the best pass of many by the wall clock, as in `benches/encryption.rs`: other work on the
machine disturbs it least. Run both in one sitting.
"""

import platform
import random
import time

import tenseal

DEGREE = 8192
SLOTS = DEGREE // 2
SECONDS = 5.0
MEMBERS = 4


def rate(work):
    """Calls `work` for a while; calls per second in the best pass."""
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return 1 / best


def measure(context, bits):
    generator = random.Random(bits)
    levels = 2**bits
    values = [generator.randrange(levels) / levels for _ in range(SLOTS)]
    plain = tenseal.plain_tensor(values)

    encrypted = rate(lambda: tenseal.ckks_vector(context, plain)) * SLOTS
    with_bytes = rate(lambda: tenseal.ckks_vector(context, plain).serialize()) * SLOTS
    size = len(tenseal.ckks_vector(context, plain).serialize())
    total = tenseal.ckks_vector(context, plain)
    for _ in range(MEMBERS - 1):
        total = total + tenseal.ckks_vector(context, plain)
    opened = zip(total.decrypt(), values)
    error = max(abs(found - MEMBERS * value) for found, value in opened) * levels
    print(f"{bits} bits")
    print(f"  encrypt:               {encrypted / 1e6:.2f} million values/s")
    print(f"  encrypt and serialize: {with_bytes / 1e6:.2f} million values/s")
    print(f"  bytes per value:       {size / SLOTS:.1f}")
    print(f"  largest error of a sum of {MEMBERS}: {error:.5f} of the last bit")


def main():
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=DEGREE,
        coeff_mod_bit_sizes=[60, 40, 40],
        n_threads=1,
    )
    context.global_scale = 2**40
    print(f"TenSEAL {tenseal.__version__}, Python {platform.python_version()}, one thread")
    for bits in (16, 24):
        measure(context, bits)


if __name__ == "__main__":
    main()
