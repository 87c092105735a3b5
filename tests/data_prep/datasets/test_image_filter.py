"""A condition on facts is parsed, never evaluated, and what is not understood is named."""

import pytest

from data_prep.datasets.image_filter import FACT_NAMES, parse_filter
from mrct.errors import UsageError

T1 = {
    "kind": "T1w",
    "EchoTime": 12.0,
    "RepetitionTime": 550.0,
    "Slices": 30.0,
    "Plane": "axial",
    "ImageType": ("ORIGINAL", "PRIMARY", "M", "NORM"),
    "contrast": False,
}


def met(text: str) -> bool:
    return parse_filter(text, "--mri-where")(T1)


@pytest.mark.parametrize(
    "text",
    [
        "EchoTime<30 and not contrast",
        "echotime < 30",
        "10 < EchoTime <= 12",
        "EchoTime > -1",
        "contrast or Slices >= 30",
        "Plane == 'axial'",
        "Plane in ('axial', 'coronal')",
        "kind != 'T2w'",
        "'NORM' in ImageType and 'DIXON' not in ImageType",
        "(EchoTime > 100 or RepetitionTime < 1000) and not (Slices == 1)",
        "not InversionTime > 0",
    ],
)
def test_a_condition_that_holds(text):
    assert met(text)


@pytest.mark.parametrize(
    "text",
    [
        "EchoTime > 30",
        "contrast",
        "EchoTime < 30 and contrast",
        "12 < EchoTime < 20",
        "InversionTime > 0",  # the header has none
        "InversionTime != 5",
        "InversionTime in (1, 2)",
        "'DIXON' in ImageType",
    ],
)
def test_a_condition_that_does_not_hold(text):
    assert not met(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("EchoTim < 30", "'EchoTim' is no fact"),
        ("PatientName == 'x'", "'PatientName' is no fact"),
        ("__import__('os').system('true')", "__import__"),
        ("open('/etc/passwd')", "open("),
        ("EchoTime.real < 30", "EchoTime.real"),
        ("ImageType[0] == 'M'", "ImageType[0]"),
        ("EchoTime + 1 < 30", "EchoTime + 1"),
        ("EchoTime < 2 ** 99999999", "2 ** 99999999"),
        ("[x for x in ImageType]", "[x for x in ImageType]"),
        ("lambda: 1", "lambda"),
        ("(EchoTime := 3) < 4", "EchoTime := 3"),
        ("EchoTime < 'thirty'", "do not compare"),
        ("EchoTime == 'T1w'", "do not compare"),
        ("Plane < 'b'", "do not compare"),
        ("'ax' in Plane", "do not compare"),
        ("contrast is True", "True"),
        ("EchoTime", "not a condition"),
        ("not EchoTime", "'EchoTime' is a value"),
        ("EchoTime <", "no condition"),
        ("", "no condition"),
        ("EchoTime < 30; contrast", "no condition"),
        ("(" * 400 + "contrast" + ")" * 400, "no condition"),
        ("contrast and " * 200 + "contrast", "no condition"),
    ],
)
def test_what_is_not_understood_is_named_with_the_known_names(text, named):
    with pytest.raises(UsageError) as caught:
        parse_filter(text, "--mri-where")

    assert named in str(caught.value)
    assert "--mri-where" in str(caught.value)
    for name in FACT_NAMES:
        assert name in str(caught.value)
