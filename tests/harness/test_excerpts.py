"""Excerpts on a page follow their files."""

import pytest

from harness.excerpts import refreshed

PAGE = """The task, `jobs/tasks.py`:

```python
def work(): ...
```

And yours, `shop/tasks.py`:

```python
def own(): ...
```
"""
FILE = '''import this


@task(steps=3)
def work(number):
    """Work."""
    return number


def other():
    pass
'''


def test_excerpt_becomes_the_whole_definition_of_its_file(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/tasks.py").write_text(FILE)
    page = refreshed(PAGE, tmp_path)
    assert (
        '```python\n@task(steps=3)\ndef work(number):\n    """Work."""\n    return number\n```'
        in page
    )
    assert "def own(): ..." in page
    assert refreshed(page, tmp_path) == page


def test_definition_that_is_gone_is_an_error(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/tasks.py").write_text("")
    with pytest.raises(KeyError, match="work"):
        refreshed(PAGE, tmp_path)
