"""The peer of `benches/encryption.rs`: TenSEAL's CKKS on one core.

    pip install tenseal
    taskset -c 0 python3 crypto/benches/peers/tenseal_ckks.py

N = 8192 with moduli [60, 40, 40] and scale 2^40: 4096 values to a ciphertext. Prints values
encrypted (and serialized) per second, and bytes per value on the wire.
"""

import platform
import random
import time

import tenseal

DEGREE = 8192
SLOTS = DEGREE // 2
SECONDS = 5.0


def rate(work):
    """Calls `work` for a while; calls per second of processor time, the best of three tries."""
    work()
    best = 0.0
    for _ in range(3):
        start, calls = time.process_time(), 0
        while time.process_time() - start < SECONDS / 3:
            work()
            calls += 1
        best = max(best, calls / (time.process_time() - start))
    return best


def main():
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=DEGREE,
        coeff_mod_bit_sizes=[60, 40, 40],
        n_threads=1,
    )
    context.global_scale = 2**40
    generator = random.Random(1)
    values = [generator.randrange(65536) / 65536 for _ in range(SLOTS)]
    plain = tenseal.plain_tensor(values)

    encrypted = rate(lambda: tenseal.ckks_vector(context, plain)) * SLOTS
    with_bytes = rate(lambda: tenseal.ckks_vector(context, plain).serialize()) * SLOTS
    size = len(tenseal.ckks_vector(context, plain).serialize())
    print(f"TenSEAL {tenseal.__version__}, Python {platform.python_version()}, one thread")
    print(f"encrypt:               {encrypted / 1e6:.2f} million values/s")
    print(f"encrypt and serialize: {with_bytes / 1e6:.2f} million values/s")
    print(f"bytes per value:       {size / SLOTS:.1f}")


if __name__ == "__main__":
    main()
