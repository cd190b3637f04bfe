"""What is counted as read: executed definitions, their lines of code, and a model's fields."""

from harness.reading import (
    code_lines,
    executed,
    fields_in,
    functions_in,
    named_lines,
    names_in,
)

SOURCE = '''"""A module."""

LIMIT = 1  # a constant


class Job(models.Model):
    """A docstring
    of two lines.
    """

    name = models.CharField(
        max_length=3,
    )
    shown = ["name"]

    @property
    def half(self):
        """Half of it."""

        # a comment
        return """
            one string
        """


def decorator(view):
    def wrapper(request):
        return view(request)

    return wrapper
'''


def test_blank_lines_comments_and_docstrings_are_no_code():
    assert code_lines(SOURCE) == {3, 6, 11, 12, 13, 14, 16, 17, 21, 22, 23, 26, 27, 28, 30}


def test_function_has_its_decorators_and_what_is_defined_inside():
    assert {d.name: len(d.lines) for d in functions_in(SOURCE)} == {"Job.half": 5, "decorator": 4}


def test_fields_of_a_model_are_found():
    assert [(d.name, len(d.lines)) for d in fields_in(SOURCE, "Job")] == [("Job.name", 3)]


def test_class_that_is_named_counts_without_its_methods():
    assert named_lines(SOURCE, {"Job", "LIMIT"}) == {3, 6, 11, 12, 13, 14}
    assert names_in(SOURCE, {6}) == {"models"}


def test_entered_functions_are_noted_once_and_only_those_of_the_folder(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("def called(): pass\n\n\ndef not_called(): pass\n")
    scope = {}
    exec(compile(file.read_text(), file, "exec"), scope)  # noqa: S102
    with executed(tmp_path) as codes:
        scope["called"]()
        scope["called"]()
    assert [code.co_name for code in codes] == ["called"]
