"""What random scenarios promise: a seed is one scenario, the recorder and the translator take it, and the shrinker finds the cause."""

import pathlib
import sys
import tomllib
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "golden"), str(HERE.parent / "oracle")]
sys.dont_write_bytecode = True

import compare  # noqa: E402
from generator.scenario import FEWEST_STEPS, generate  # noqa: E402
from shrink import shrink  # noqa: E402
from toml_text import dumps  # noqa: E402
from translate import ip_batch, render, rule_sets, settings  # noqa: E402
from translate.model import Gateway  # noqa: E402

SEEDS = range(60)
RULES = {"iptables": 4, "ip6tables": 6}


def configurations(scenario):
    """Espalier's configurations of all steps; fails where a command asks for what is not there."""
    gateway, rules = Gateway(scenario), {key: scenario.get(key, "") for key in RULES}
    for source in [scenario, *scenario["packet"]]:
        ip_batch.apply(gateway, source.get("ip", ""))
        rules |= {key: source[key] for key in RULES if key in source}
        yield render.configuration(gateway, [rule_sets.read(rules[key], family, gateway) for key, family in RULES.items()],
                                   settings.read(scenario))


class Generator(unittest.TestCase):
    def test_a_seed_is_one_scenario(self):
        self.assertEqual(generate(7), generate(7))
        self.assertNotEqual(generate(7)["packet"], generate(8)["packet"])

    def test_files_hold_all_of_it(self):
        for seed in SEEDS:
            scenario = generate(seed)
            self.assertEqual(tomllib.loads(dumps(scenario)), scenario, seed)

    def test_steps_refer_to_earlier_ones(self):
        for seed in SEEDS:
            earlier = set()
            for step in generate(seed)["packet"]:
                self.assertIn(compare.references(step), earlier | {None}, seed)
                earlier.add(step["id"])
            self.assertGreaterEqual(len(earlier), FEWEST_STEPS)

    def test_the_translator_takes_all_of_it(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.assertTrue(all("interfaces = {" in text for text in configurations(generate(seed))))

    def test_policies_and_states_that_go_were_there(self):
        for seed in SEEDS:
            known = set()
            for source in [generate(seed), *generate(seed)["packet"]]:
                for line in source.get("ip", "").splitlines():
                    words = line.split()
                    if words[:3] == ["xfrm", "state", "add"]:
                        known.add(words[words.index("spi") + 1])
                    elif words[:3] == ["xfrm", "state", "delete"]:
                        known.remove(words[words.index("spi") + 1])


class Steps(unittest.TestCase):
    SCENARIO = {"packet": [{"id": "a", "ip": "one\n"}, {"id": "b", "reply_to": "a", "iptables": "rules"},
                           {"id": "c", "ip": "two\n"}, {"id": "d", "icmp_error": {"of": "b"}}]}

    def test_those_that_refer_to_one_go_with_it(self):
        left = compare.without_steps(self.SCENARIO, {"a"})["packet"]
        self.assertEqual([step["id"] for step in left], ["c"])

    def test_what_they_change_is_changed_by_the_next_one(self):
        left = compare.without_steps(self.SCENARIO, {"a"})["packet"]
        self.assertEqual(left, [{"id": "c", "ip": "one\ntwo\n", "iptables": "rules"}])

    def test_kinds_are_without_values(self):
        self.assertEqual(compare.kind_of("step p7, wan0[0].ip.ttl: Linux 63, ours 64"), "ip.ttl")
        self.assertEqual(compare.kind_of("step p7, drops: Linux { }, ours { no_route: 1 }"), "drops")
        self.assertEqual(compare.kind_of("cannot be translated: nft"), "cannot be translated: nft")


class Shrinker(unittest.TestCase):
    """With a gateway that differs whenever packet `b` comes while a certain route is there."""

    def run_all(self, scenarios):
        return {name: self.judge(name, scenario) for name, scenario in scenarios.items()}

    @staticmethod
    def judge(name, scenario):
        outcome = compare.Outcome(name, scenario)
        if "route add bad" in scenario.get("ip", "") and any(step["id"] == "b" for step in scenario["packet"]):
            outcome.problems.append("step b, wan0[0].ip.ttl: Linux 1, ours 2")
        return outcome

    def test_only_the_cause_is_left(self):
        scenario = {"ip": "route add good\nroute add bad\nroute add other\n", "iptables": "*nat\n-A X -j Y\nCOMMIT\n",
                    "interface": [{"name": "lan0"}],
                    "packet": [{"id": name, "in": "lan0", "data": 5} for name in "abcd"]}
        self.assertEqual(shrink(self.judge("x", scenario), self.run_all),
                         {"ip": "route add bad\n", "interface": [{"name": "lan0"}], "packet": [{"id": "b", "in": "lan0"}]})


if __name__ == "__main__":
    unittest.main()
