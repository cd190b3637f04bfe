"""Files in the database: what every process of a deployed site reaches.

No message passes here. On Heroku and Render a disk vanishes with its process, and no two
processes share one. `STORAGES["uploads"]` may name any other storage of Django's instead.
https://docs.djangoproject.com/en/6.1/howto/custom-file-storage/
"""

from datetime import datetime
from io import BytesIO

from django.core.files.base import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

from groupcommit.transactions import write_transaction
from recipes.models import StoredFile


@deconstructible
class DatabaseStorage(Storage):
    """Each file is a row. A file is read and written whole, so keep files small."""

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        if mode != "rb":
            raise ValueError("A stored file is opened for reading, in mode 'rb'.")
        return File(BytesIO(self.row(name, "content").content), name)

    def _save(self, name: str, content: "File[bytes]") -> str:
        content.seek(0)
        data = content.read()
        data = data.encode() if isinstance(data, str) else bytes(data)
        with write_transaction():
            StoredFile.objects.create(name=name, content=data, size=len(data))
        return name

    def row(self, name: str, *fields: str) -> StoredFile:
        """A file's row with only these columns. FileNotFoundError if there is none."""
        if row := StoredFile.objects.filter(name=name).only(*fields).first():
            return row
        raise FileNotFoundError(f"There is no file {name!r}.")

    def delete(self, name: str) -> None:
        StoredFile.objects.filter(name=name).delete()

    def exists(self, name: str) -> bool:
        return StoredFile.objects.filter(name=name).exists()

    def size(self, name: str) -> int:
        return self.row(name, "size").size

    def get_created_time(self, name: str) -> datetime:
        return self.row(name, "created_at").created_at

    get_modified_time = get_created_time

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """The folders and the files in a folder, as the names of the stored files have them."""
        prefix = f"{path.strip('/')}/" if path.strip("/") else ""
        names = StoredFile.objects.filter(name__startswith=prefix).values_list("name", flat=True)
        parts = [name.removeprefix(prefix).partition("/") for name in names]
        folders = {first for first, slash, _ in parts if slash}
        return sorted(folders), sorted(first for first, slash, _ in parts if not slash)
