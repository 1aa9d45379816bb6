"""`python -m benchmarks.sampler FILE MODULE ARGUMENTS...`: runs a module, and writes down where its CPU went.

Every TICK_S each thread's stack is given the CPU that the thread has used since the last look, which no profiler
from outside does: waiting costs nothing, and hundreds of idle threads do not matter. Sampling begins with
SIGUSR2, so that the start is not in it. FILE gets collapsed stacks in µs, as flame graphs are made of.
"""

from __future__ import annotations

import atexit
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

TICK_S = 0.003
SWITCH_S = 0.0005  # how soon another thread lets the sampler look


class Sampler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._used_ns: dict[int, int] = {}
        self._stacks: Counter[str] = Counter()

    def run(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        self._look(Counter())
        while True:
            time.sleep(TICK_S)
            self._look(self._stacks)

    def write(self, file: Path) -> None:
        lines = (f"{stack} {used_ns // 1000}\n" for stack, used_ns in self._stacks.most_common())
        file.write_text("".join(lines))

    def _look(self, stacks: Counter[str]) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - the only way to them
        for thread in threading.enumerate():
            if thread.ident in frames and thread.native_id is not None and thread is not self:
                used_ns = _thread_cpu_ns(thread.native_id)
                before_ns, self._used_ns[thread.ident] = self._used_ns.get(thread.ident, used_ns), used_ns
                if used_ns > before_ns:
                    name = thread.name.partition("_")[0]
                    stacks[f"{name};{_stack(frames[thread.ident])}"] += used_ns - before_ns


def _thread_cpu_ns(thread: int) -> int:
    try:
        return time.clock_gettime_ns((~thread << 3) | 6)  # as pthread_getcpuclockid(3) makes it on Linux
    except OSError:  # it has ended
        return 0


def _stack(frame: FrameType | None) -> str:
    calls: list[str] = []
    while frame is not None:
        code = frame.f_code
        calls.append(f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}")
        frame = frame.f_back
    return ";".join(reversed(calls))


def main() -> None:
    sampler = Sampler()
    signal.signal(signal.SIGUSR2, lambda *_: sampler.start())
    file, module, *arguments = sys.argv[1:]
    atexit.register(sampler.write, Path(file))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
