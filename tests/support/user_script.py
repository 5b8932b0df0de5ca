"""A script of a user, in twenty lines."""

from pathlib import Path

import tfcaption as tfc


def main() -> None:
    run = tfc.fit("small", run="runs/mine", train__epochs=3)
    losses: list[float] = run.history["dev_loss"]
    scores = run.evaluate("test", beam=5)
    print(losses[-1], scores["cider"])
    captioner = tfc.load(run.export(Path("exports/mine/1")))
    caption: tfc.Caption = captioner.caption("photo.jpg", attention=True)
    print(caption.text, caption.score, [word.word for word in caption.attention or ()])
    for each in captioner.caption(["a.jpg", b"..."], errors="return"):
        print(each if isinstance(each, tfc.PhotoError) else each.text)
    data = tfc.dataset("records", "train", batch_size=8)
    print(data.info.photos)
    print(tfc.score({"a": "a dog"}, {"a": ["A dog ."]})["bleu_1"])


main()
