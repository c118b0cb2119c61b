"""What processes do in `test_forking`: programs over the demo bundle, run as ``forked.py NAME ...``."""

import gc
import multiprocessing
import os
import shutil
import sys
import threading
from pathlib import Path

from llmbuilder import TextGenerator
from llmbuilder.chat.template import ChatTemplate
from llmbuilder.errors import BundleError

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
OPTIONS = {"max_new_tokens": 12, "seed": 3}
PROMPT = "Once upon a time"


FORKS = int(os.environ.get("FORKS", "3"))


def opened(path=DEMO, threads=2):
    return TextGenerator(path, threads=threads)


def child(work):
    """Do this in a child, which then ends as programs do; return its exit status."""
    process = os.fork()
    if process == 0:
        sys.exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def status(good):
    return 0 if good else 1


def does_nothing():
    generator = opened()
    assert child(lambda: 7) == 7
    assert generator.generate(PROMPT, **OPTIONS)


def drops_it():
    """The child forgets the parent's model, as it does when newer ones take its place."""
    generator = opened()

    def drop():
        generator.close()
        del generator._engine, generator._maker, generator._source
        for threads in (1, 3, 4):
            opened(threads=threads).close()
        gc.collect()

    assert child(drop) == 0
    assert generator.generate(PROMPT, **OPTIONS)


def uses_it():
    generator = opened()
    text = generator.generate(PROMPT, **OPTIONS)
    assert child(lambda: status(generator.generate(PROMPT, **OPTIONS) == text)) == 0
    assert generator.generate(PROMPT, **OPTIONS) == text


def opens_it_again():
    generator = opened()
    text = generator.generate(PROMPT, **OPTIONS)
    assert child(lambda: status(opened().generate(PROMPT, **OPTIONS) == text)) == 0


def grandchildren():
    generator = opened()
    text = generator.generate(PROMPT, **OPTIONS)

    def use():
        return status(generator.generate(PROMPT, **OPTIONS) == text)

    assert child(lambda: use() or child(use) or child(lambda: 0)) == 0


def in_the_middle_of_a_stream():
    generator = opened()
    text = generator.generate(PROMPT, **OPTIONS)
    pieces = generator.stream(PROMPT, **OPTIONS)
    begun = next(pieces) + next(pieces)
    assert child(lambda: status(begun + "".join(pieces) == text)) == 0
    assert begun + "".join(pieces) == text


def while_another_thread_loads():
    opened(threads=1)
    stop = threading.Event()
    loads = 0

    def load():
        nonlocal loads
        while not stop.is_set():
            for threads in (1, 2, 3, 4):
                opened(threads=threads).close()
            loads += 1

    loading = threading.Thread(target=load)
    loading.start()
    text = opened().generate(PROMPT, **OPTIONS)
    statuses = [
        child(lambda n=n: status(opened(threads=1 + n % 4).generate(PROMPT, **OPTIONS) == text))
        for n in range(FORKS)
    ]
    stop.set()
    loading.join()
    assert loads
    assert statuses == FORKS * [0], statuses


def while_other_threads_generate():
    generator = opened()
    text = generator.generate(PROMPT, **OPTIONS)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            generator.generate(PROMPT, **OPTIONS)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [child(lambda: status(generator.generate(PROMPT, **OPTIONS) == text)) for _ in range(FORKS)]
    stop.set()
    for thread in threads:
        thread.join()
    assert statuses == FORKS * [0], statuses


def when_the_bundle_has_changed():
    place = Path(os.environ["SCRATCH"], "bundle")
    shutil.copytree(DEMO, place)
    generator = opened(place)
    generator.generate(PROMPT, **OPTIONS)

    def use():
        manifest = place / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"created_by": "', '"created_by": "another '))
        try:
            generator.generate(PROMPT, **OPTIONS)
        except BundleError as error:
            return status(str(place) in str(error))
        return 1

    assert child(use) == 0


def a_chat_template():
    template = ChatTemplate("{{ messages[0].content }}", {})
    hello, bye = ([{"role": "user", "content": word}] for word in ("hello", "bye"))
    assert template.render(hello) == "hello"
    assert child(lambda: status(template.render(bye) == "bye")) == 0
    assert child(template.close) == 0
    assert child(lambda: None) == 0
    process = template._process
    assert template.render(hello) == "hello"
    assert template._process is process


SHARED: list[TextGenerator] = []


def work(prompt):
    if not SHARED:
        SHARED.append(opened())
    return SHARED[0].generate(prompt, **OPTIONS)


def pool(method):
    SHARED.append(opened())
    prompts = [PROMPT, "The moon", "A fox", "One day"]
    expected = [work(prompt) for prompt in prompts]
    with multiprocessing.get_context(method).Pool(1) as workers:
        assert workers.map(work, prompts) == expected
        workers.close()
        workers.join()


def pool_by_fork():
    pool("fork")


def pool_by_spawn():
    pool("spawn")


def pool_by_forkserver():
    pool("forkserver")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        globals()[name]()
