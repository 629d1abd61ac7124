"""Train a method for ten steps on the embedded benchmark and score it: `python examples/quickstart.py`."""

import barbench as bb

if __name__ == "__main__":
    data = bb.open_data("shapes", "refcoco+")
    model = bb.build_segmenter("barleria", backbone="tiny")
    bb.fit(model, data, recipe="demo", max_steps=10)
    print(bb.evaluate(model, data, "val").metrics)
