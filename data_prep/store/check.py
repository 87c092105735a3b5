"""Whether a store still is what was committed. It changes nothing."""

from data_prep.store.commits import committed, read_commit
from data_prep.store.store import Store, StoredVolume
from mrct.errors import StoreError
from mrct.progress import progress


def check(store: Store, *, full: bool = False) -> list[str]:
    """All that is wrong with a store, a sentence each; empty when it is sound.

    Every volume's files against its commit record (`full` reads and hashes every byte), the index
    against the records, and links that lead nowhere or to another grid.
    """
    names = {volume.name for volume in store.volumes}
    problems = []
    with progress("check", total=len(store.volumes)) as advance:
        for volume in store.volumes:
            try:
                store.verify(volume, full=full)
                record = StoredVolume.from_json(read_commit(store.path, volume.name)["volume"])
                if record.to_json() != volume.to_json():
                    problems.append(f"The index and the commit record differ on {volume.name}.")
                if volume.modality == "mri":
                    store.partner(volume)
            except StoreError as error:
                problems.append(str(error))
            if volume.link and volume.link not in names:
                problems.append(f"{volume.name} is linked to {volume.link}, which is not there.")
            advance()
    problems += [
        f"{name} is committed but not in the index: run the same convert again."
        for name in sorted(set(committed(store.path)) - names)
    ]
    return problems
