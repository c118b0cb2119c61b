import os

import pytest

from llmbuilder.engine import limits
from llmbuilder.engine.limits import available_memory, available_threads, peak_memory, within_memory
from llmbuilder.errors import DeviceError

GIB = 1 << 30
MEMINFO = "proc/meminfo"
V1_MEMORY = "sys/fs/cgroup/memory"
V1_CPU = "sys/fs/cgroup/cpu"


@pytest.fixture
def system(tmp_path):
    """The root of a system with these files."""

    def system(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return system


def meminfo(gib):
    return {MEMINFO: f"MemTotal:       99999999 kB\nMemAvailable:   {gib << 20} kB\nHugePages_Total:  0\n"}


def cpu_v1(quota):
    return {f"{V1_CPU}/cpu.cfs_quota_us": f"{quota}\n", f"{V1_CPU}/cpu.cfs_period_us": "100000\n"}


class TestThreads:
    @pytest.fixture(autouse=True)
    def eight_cpus(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    @pytest.mark.parametrize(
        ("quota", "expected"),
        [
            ("max 100000\n", 8),
            ("400000 100000\n", 4),
            ("250000 100000\n", 2),
            ("50000 100000\n", 1),
            ("9900000 100000\n", 8),
            ("400000\n", 8),
        ],
        ids=["max", "4", "2.5", "0.5", "99", "malformed"],
    )
    def test_are_capped_by_the_control_groups_quota(self, system, quota, expected):
        assert available_threads(system({"sys/fs/cgroup/cpu.max": quota})) == expected

    @pytest.mark.parametrize(("quota", "expected"), [(300000, 3), (-1, 8)])
    def test_are_capped_by_version_1_too(self, system, quota, expected):
        assert available_threads(system(cpu_v1(quota))) == expected

    def test_are_capped_by_every_group_around_the_process(self, system):
        files = {
            "proc/self/cgroup": "0::/system.slice/model.service\n",
            "sys/fs/cgroup/system.slice/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/system.slice/model.service/cpu.max": "500000 100000\n",
        }
        assert available_threads(system(files)) == 3

    def test_are_all_cpus_where_nothing_limits_them(self, tmp_path):
        assert available_threads(tmp_path) == 8

    def test_are_all_cpus_where_there_is_no_affinity(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
        assert available_threads(tmp_path) == 5


class TestMemory:
    def test_is_what_the_system_has_left(self, system):
        assert available_memory(system(meminfo(6))) == 6 * GIB

    def test_is_not_known_where_the_system_does_not_say(self, tmp_path):
        assert available_memory(tmp_path) is None

    def test_is_what_a_control_group_has_left_with_what_it_can_take_back(self, system):
        files = {
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon {2 * GIB}\ninactive_file {GIB // 2}\n",
        }
        assert available_memory(system(meminfo(6) | files)) == 3 * GIB // 2

    def test_is_the_systems_where_the_group_has_no_limit(self, system):
        files = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": f"{3 * GIB}\n"}
        assert available_memory(system(meminfo(6) | files)) == 6 * GIB

    @pytest.mark.parametrize(("limit", "expected"), [(5 * GIB, 3 * GIB), (9223372036854771712, 6 * GIB)])
    def test_follows_version_1_too(self, system, limit, expected):
        files = {
            f"{V1_MEMORY}/memory.limit_in_bytes": f"{limit}\n",
            f"{V1_MEMORY}/memory.usage_in_bytes": f"{3 * GIB}\n",
            f"{V1_MEMORY}/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}\n",
        }
        assert available_memory(system(meminfo(6) | files)) == expected

    @pytest.mark.parametrize(
        ("line", "top", "limit", "used"),
        [
            ("0::/box/inner", "sys/fs/cgroup", "memory.max", "memory.current"),
            ("4:cpu,memory:/box/inner", V1_MEMORY, "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ],
        ids=["v2", "v1"],
    )
    def test_is_the_least_of_all_groups_around_the_process(self, system, line, top, limit, used):
        files = {
            "proc/self/cgroup": f"{line}\n",
            f"{top}/box/{limit}": f"{2 * GIB}\n",
            f"{top}/box/{used}": f"{GIB}\n",
            f"{top}/box/inner/{limit}": f"{4 * GIB}\n",
            f"{top}/box/inner/{used}": f"{GIB}\n",
        }
        assert available_memory(system(meminfo(6) | files)) == GIB

    def test_is_never_less_than_nothing(self, system):
        files = {"sys/fs/cgroup/memory.max": "10\n", "sys/fs/cgroup/memory.current": "20\n"}
        assert available_memory(system(meminfo(6) | files)) == 0


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_memory_that_is_not_given_is_an_error_with_bytes_and_remedy(error):
    with (
        pytest.raises(DeviceError, match=r"^A cache needs 77 bytes .* does not give\. Lower it\.$"),
        within_memory("A cache", 77, "Lower it."),
    ):
        raise error


def test_memory_is_asked_for_once_a_second(monkeypatch):
    now, answers = [10.9], iter([1, 2])
    monkeypatch.setattr(limits, "available_memory", lambda: next(answers))
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    limits._memory_in.cache_clear()
    assert [limits.recent_memory(), limits.recent_memory()] == [1, 1]
    now[0] = 11.0
    assert limits.recent_memory() == 2
    limits._memory_in.cache_clear()


class TestPeakMemory:
    def test_is_the_high_water_mark_that_the_system_tells(self, system):
        assert (
            peak_memory(system({"proc/self/status": "VmPeak:\t 9000 kB\nVmHWM:\t  512 kB\n"})) == 512 * 1024
        )

    def test_is_what_was_used_where_the_system_tells_no_mark(self, system):
        assert peak_memory(system({})) > 1_000_000
