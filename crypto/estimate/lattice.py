"""The lattice estimate of the parameter set, by the lattice-estimator (needs SageMath).

    git clone https://github.com/malb/lattice-estimator
    PYTHONPATH=lattice-estimator sage -python crypto/estimate/lattice.py

What is estimated is what `docs/parameters.md` reduces the secure sum to: one ring-LWE secret, uniform
modulo q, N = 4096, with the noise that stays unknown when all but two members collude with the
coordinator and the sum of both noises is revealed: hypergeometric, standard deviation 4.48. Expected:
the cheapest attack costs about 2^230 in the MATZOV model; the design's figure, to be compared with
the last line. `independent.py` beside this file computes the primal attack without Sage.

The estimator: Albrecht, Player, Scott: On the concrete hardness of Learning with Errors, J. Math.
Cryptol. 9(3), 2015. The cost model: MATZOV: Report on the security of LWE, Zenodo 6412487, 2022.
"""

from estimator import LWE, ND, RC
from sage.all import log

Q = 2**64 - 2**32 + 1
N = 4096
# Polynomials of one step, 4096 samples each; more do not help the attacks below.
SAMPLES = N * 4096


def main():
    for name, deviation in (("full noise, CBD(80)", 40**0.5), ("two honest members", 4.48)):
        params = LWE.Parameters(
            n=N, q=Q, Xs=ND.UniformMod(Q), Xe=ND.DiscreteGaussian(deviation), m=SAMPLES, tag=name
        )
        print(name)
        costs = LWE.estimate(
            params, red_cost_model=RC.MATZOV, deny_list=("arora-gb", "bkw")
        )
        cheapest = min(log(cost["rop"], 2) for cost in costs.values())
        print(f"{name}: cheapest attack 2^{float(cheapest):.0f}")


if __name__ == "__main__":
    main()
