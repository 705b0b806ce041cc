"""Of the peers' own mathematics and files, on the processor: python -m unittest discover benches/peers"""

import json
import tempfile
import time
import unittest
import unittest.mock
from pathlib import Path

import torch
import torch_bench
from torch_ops import halving, operation, recurrence, some, stepwise, summed, transformed
from torch_timing import AHEAD, EFFORTS, LONG, Device, clock, rank, timing


def naive(a, b):
    h, steps = torch.zeros_like(b[..., 0]), []
    for t in range(b.shape[-1]):
        h = a[..., t] * h + b[..., t]
        steps.append(h)
    return torch.stack(steps, -1)


class Mathematics(unittest.TestCase):
    def test_recurrences_and_their_gradients_are_those_of_the_definition(self):
        for length in (1, 2, 3, 4, 5, 7, 97, 128, 1025):
            a, b, seed = (torch.randn(2, 3, length, dtype=torch.float64) for _ in range(3))
            a = a.sigmoid().requires_grad_()
            b.requires_grad_()
            expected = naive(a, b)
            gradients = torch.autograd.grad(expected, (a, b), seed)
            for way in (recurrence, stepwise):
                torch.testing.assert_close(way(a, b), expected)
                torch.testing.assert_close(torch.autograd.grad(way(a, b), (a, b), seed), gradients)
            back = naive(a.flip(-1), b.flip(-1)).flip(-1)
            torch.testing.assert_close(halving(a.detach(), b.detach(), back=True), back.detach())

    def test_halves_lie_in_memory_as_what_they_are_of(self):
        a = torch.rand(2, 65, 5, 3).movedim(1, -1)
        self.assertEqual(halving(a, a).stride(), a.stride())

    def test_convolutions_agree(self):
        v, k = torch.randn(1, 1, 1300, dtype=torch.float64), torch.randn(1, 1100, dtype=torch.float64)
        torch.testing.assert_close(summed(v, k), transformed(v, k))

    def test_samples_have_both_ends(self):
        self.assertEqual((some(10), some(2), some(7, 1)), ([0, 3, 6, 9], [0, 1], [6]))

    def test_ranks_are_those_of_the_tables(self):
        ranks = {5: None, 6: 0, 8: 0, 9: 1, 20: 5, 50: 17, 100: 39}
        self.assertEqual({runs: rank(runs) for runs in ranks}, ranks)


class Workloads(unittest.TestCase):
    def report(self, **other):
        fields = dict(batch=1, channels=3, length=70, complex=False, exclusive=False, initial=False, reverse=False)
        names = {"workload": "linear scan f32 1 × 3 × 70", "case": "linear scan f32, length 70"}
        return names | {"kind": "linear scan", "pass": "forward", "dtype": "f32", "spec": fields | other}

    def test_what_nobody_heeds_is_refused(self):
        for name in ("reverse", "exclusive", "of_tomorrow"):
            with self.assertRaisesRegex(NotImplementedError, name):
                operation(self.report(**{name: True}), Device("cpu"))

    def test_wrong_answers_and_gradients_are_found(self):
        device = Device("cpu")
        for which in ("forward", "backward"):
            report = self.report() | {"pass": which}
            op = operation(report, device)
            right = op.ways[0].run
            wrong_ones = [lambda a, b: right(a, b) + 0.01 * a * b, lambda a, b: b / 0]
            for run, wrong in [(right, False), *((run, True) for run in wrong_ones)]:
                contest = torch_bench.Contest(op, report, device)
                _, found, _ = contest.run_once(run)
                if wrong:
                    with self.assertRaises(ArithmeticError):
                        contest.check(found)
                else:
                    contest.check(found)

    def test_one_run_at_least_and_no_more_when_time_is_up(self):
        calls = []
        timing(lambda: calls.append(1), Device("cpu"), EFFORTS["quick"], until=0)
        self.assertEqual(len(calls), 1)

    def test_runs_are_timed_on_the_clock_of_the_device_too(self):
        class Event:
            def __init__(self, enable_timing):
                self.at = None

            def record(self):
                self.at = clock()

            def elapsed_time(self, other):
                return 1e3 * (other.at - self.at)

        for took in (0.001, 0.02):
            device = Device("cpu")
            device.has_events = True
            with unittest.mock.patch("torch.cuda.Event", Event):
                found = timing(lambda: time.sleep(took), device, EFFORTS["quick"])
            self.assertGreaterEqual(found["device"]["lower_ms"], 1e3 * took)
            self.assertGreaterEqual(found["wall"]["lower_ms"], found["device"]["lower_ms"] * 0.9)
            self.assertGreaterEqual(found["runs"], 7 * AHEAD if took < LONG else 7)


class Files(unittest.TestCase):
    def test_foreign_files_are_refused_in_words(self):
        found = {
            "{": "no JSON",
            "[]": "no object",
            '{"a": 1}': "an object with a, expected",
            '{"schema": "tilewise-benchmark", "version": 3}': "version 3.*take the script of",
            '{"schema": "tilewise-benchmark", "version": 1}': "version 1.*measure it again",
            '{"schema": "tilewise-benchmark", "version": 2, "suite": null}': "how thoroughly",
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "record.json")
            for text, words in found.items():
                path.write_text(text)
                with self.assertRaisesRegex(torch_bench.Foreign, words):
                    torch_bench.read(path)
            good = {"schema": "tilewise-benchmark", "version": 2, "suite": {"depth": "quick"}, "reports": []}
            path.write_text(json.dumps(good))
            self.assertEqual(torch_bench.read(path), good)

    def test_words_choose(self):
        reports = [{"workload": name} for name in ("linear scan f32", "selective scan f16", "Mamba f16")]
        chosen = [report["workload"] for report in torch_bench.chosen(reports, "F16 scan")]
        self.assertEqual(chosen, ["selective scan f16"])


if __name__ == "__main__":
    unittest.main()
