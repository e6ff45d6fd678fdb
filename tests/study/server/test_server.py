"""The server: responses reveal no method and go only to their participant, requests are checked,
and strangers get no answer.
"""

import io
import json
import re
import secrets
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError
from workbench.study.server.app import study_app
from workbench.study.store.store import Store

METHODS, PROMPTS = ("secret-method-a", "secret-method-b"), ("a red fox", "two stars", "a hill")
TOKEN = "the-owners-own-token"


@pytest.fixture
def folder(tmp_path):
    """A study's pictures: flat colours, whose files differ much in length."""
    (tmp_path / "stimuli").mkdir()
    sheets, rng = {}, np.random.default_rng(0)
    for prompt in PROMPTS:
        for name in (*METHODS, *(f"spoiled {method}" for method in METHODS)):
            pixels = (
                rng.integers(256, size=(80, 80, 3), dtype=np.uint8)
                if name.endswith("a")
                else np.full((80, 80, 3), len(sheets), np.uint8)
            )
            file = f"{uuid.uuid4().hex}.png"
            Image.fromarray(pixels).save(tmp_path / "stimuli" / file)
            sheets.setdefault(prompt, {})[name] = file
    (tmp_path / "stimuli.json").write_text(json.dumps({"sheets": sheets}))
    return tmp_path


@pytest.fixture
def store(folder):
    with Store.create(
        folder / "study.db",
        StudyDesign("A study", METHODS, PROMPTS, (0, 1), trials=3, gold=1, repeats=1),
    ) as made:
        yield made


@pytest.fixture
def client(store, folder):
    with TestClient(study_app(store, folder, TOKEN), base_url="http://127.0.0.1:7870") as made:
        yield made


def joining() -> dict:
    return {"consent": True, "client_id": secrets.token_hex(32)}


def joined(client) -> dict:
    return {"Authorization": f"Bearer {client.post('/api/join', json=joining()).json()['token']}"}


def vote(trial: str, **changes) -> dict:
    return {
        "trial": trial,
        "client_id": str(uuid.uuid4()),
        "answers": {"diversity": "left", "quality": "tie"},
        "seconds": 2.5,
    } | changes


def walked(client, who: dict) -> list[dict]:
    """All of a participant's trials, each answered."""
    found = []
    while (answer := client.get("/api/trial", headers=who).json())["trial"]:
        found.append(answer)
        assert client.post("/api/vote", json=vote(answer["trial"]["id"]), headers=who).json() == {
            "saved": True
        }
    return found


def test_a_participant_walks_through_the_study(client, store):
    who = joined(client)
    told = client.get("/api/study").json()
    assert [criterion["name"] for criterion in told["criteria"]] == [
        "diversity",
        "quality",
    ]
    assert told["ties"]
    trials = walked(client, who)
    assert len(trials) == 6
    assert trials[0]["trial"]["practice"]
    assert not any(one["trial"]["practice"] for one in trials[1:])
    assert client.get("/api/trial", headers=who).json()["progress"]["done"] == 5
    ballots = store.ballots()
    assert len(ballots) == 10
    assert Counter(ballot.kind for ballot in ballots) == {
        "real": 6,
        "gold": 2,
        "repeat": 2,
    }
    assert {ballot.seconds for ballot in ballots} == {2.5}


def test_nothing_that_goes_out_tells_a_method(client, folder):
    """Everything a participant gets is read: texts, headers, addresses, and the pictures' bytes
    but for their pixels.
    """
    seen, trials, pictures = [], [], []
    for who in (joined(client), joined(client)):
        for answer in [
            client.get(path, headers=who)
            for path in (
                "/",
                "/study.js",
                "/person.js",
                "/sending.js",
                "/study.css",
                "/api/study",
                "/api/trial",
            )
        ]:
            seen.append(answer.text + str(dict(answer.headers)))
        for one in walked(client, who):
            trial = one["trial"]
            seen.append(json.dumps(one))
            assert set(trial) == {"id", "position", "practice", "prompt", "left", "right"}
            pictures += [
                (trial[side], client.get(f"/api/picture/{trial[side]}", headers=who))
                for side in ("left", "right")
            ]
    files = [
        file
        for sheets in json.loads((folder / "stimuli.json").read_text())["sheets"].values()
        for file in sheets.values()
    ]
    for secret in (*METHODS, "secret", "spoiled", *files, *(file[:-4] for file in files)):
        assert not any(secret in text for text in seen + trials), secret
    assert not any(
        word in text for text in trials for word in ("gold", "repeat", "real", "expected", "item")
    )
    tokens = [token for token, _ in pictures]
    assert (
        len(set(tokens)) == len(tokens) == 24
    )  # one for each side of each trial of each participant
    contents = [answer.content for _, answer in pictures]
    assert len(set(contents)) == 24
    assert len({len(content) for content in contents}) == 1
    assert all(
        answer.headers["content-type"] == "image/png"
        and "etag" not in answer.headers
        and "last-modified" not in answer.headers
        for _, answer in pictures
    )
    sizes = {Image.open(io.BytesIO(content)).size for content in contents}
    assert sizes == {(80, 80)}
    assert not any(Image.open(io.BytesIO(content)).info for content in contents)


def test_the_pictures_are_those_of_the_trial(client, store, folder):
    sheets = json.loads((folder / "stimuli.json").read_text())["sheets"]
    who = joined(client)
    for one in walked(client, who):
        for side in ("left", "right"):
            shown = store.image_of(one["trial"][side])
            name = f"spoiled {shown.of}" if shown.method == "spoiled" else shown.method
            found = Image.open(
                io.BytesIO(client.get(f"/api/picture/{one['trial'][side]}", headers=who).content)
            )
            expected = Image.open(folder / "stimuli" / sheets[one["trial"]["prompt"]][name])
            assert found.size == expected.size
            assert np.abs(np.array(found).astype(int) - np.array(expected)).max() == 1


def test_nobody_is_answered_for_another_participant(client):
    mine, other = joined(client), joined(client)
    trial = client.get("/api/trial", headers=mine).json()["trial"]
    for who, status in (
        (other, 404),
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": "Bearer ' OR 1=1 --"}, 401),
    ):
        assert client.get(f"/api/picture/{trial['left']}", headers=who).status_code == status
        assert client.post("/api/vote", json=vote(trial["id"]), headers=who).status_code == status
        assert (
            client.post(
                "/api/undo",
                json={"trial": trial["id"], "client_id": str(uuid.uuid4())},
                headers=who,
            ).status_code
            == status
        )
    assert client.get("/api/trial").status_code == 401
    assert client.get("/api/trial", headers=mine).json()["trial"] == trial


def test_a_vote_that_is_sent_again_counts_once_and_another_answer_is_refused(client, store):
    who = joined(client)
    walked_trial = client.get("/api/trial", headers=who).json()["trial"]["id"]
    first = vote(walked_trial)
    assert [client.post("/api/vote", json=first, headers=who).status_code for _ in range(3)] == [
        200,
        200,
        200,
    ]
    again = client.post("/api/vote", json=vote(walked_trial), headers=who)
    assert again.status_code == 409
    assert "answered already" in again.json()["detail"]
    assert client.get("/api/trial", headers=who).json()["progress"]["undo"] in ("", walked_trial)


def test_undo_opens_the_last_trial_again(client, store):
    who = joined(client)
    trials = walked(client, who)
    last = trials[-1]["trial"]["id"]
    assert client.get("/api/trial", headers=who).json()["progress"] == {
        "done": 5,
        "total": 5,
        "undo": last,
    }
    undo = {"trial": last, "client_id": str(uuid.uuid4())}
    assert [client.post("/api/undo", json=undo, headers=who).status_code for _ in range(2)] == [
        200,
        200,
    ]
    answer = client.get("/api/trial", headers=who).json()
    assert answer["trial"]["id"] == last
    assert answer["progress"]["done"] == 4
    assert len(store.ballots()) == 8
    skipped = vote(last, answers={}, skip_reason="cannot decide")
    assert client.post("/api/vote", json=skipped, headers=who).status_code == 200
    assert Counter(ballot.choice for ballot in store.ballots())["skip"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"answers": {"diversity": "left"}},
        {"answers": {"diversity": "both", "quality": "tie"}},
        {"answers": {"diversity": "left", "quality": "tie", "x": "tie"}},
        {"client_id": "1"},
        {"client_id": "'; DROP TABLE vote; --" + "0" * 14},
        {"trial": "../../etc/passwd"},
        {"trial": "x" * 65},
        {"seconds": -1},
        {"seconds": "nan"},
        {"seconds": 1e9},
        {"extra": 1},
        {"answers": {}, "skip_reason": ""},
        {"skip_reason": "x" * 201},
        {"answers": "left"},
    ],
)
def test_what_is_no_answer_is_refused_in_a_line(client, store, wrong):
    who = joined(client)
    trial = client.get("/api/trial", headers=who).json()["trial"]
    answer = client.post("/api/vote", json=vote(trial["id"]) | wrong, headers=who)
    assert answer.status_code in (404, 422)
    assert isinstance(answer.json()["detail"], str)
    assert "\n" not in answer.json()["detail"]
    assert client.get("/api/trial", headers=who).json()["trial"] == trial
    assert not store.ballots()


def test_nobody_joins_without_consent(client, store):
    for wrong in ({"consent": False}, {"consent": "true"}, {"name": "x"}):
        assert client.post("/api/join", json=joining() | wrong).status_code == 422
    assert client.post("/api/join", json={}).status_code == 422
    assert store.status().participants == 0


def test_who_joins_again_with_the_same_secret_id_is_the_same_participant(client, store):
    body = joining()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/api/join", json=body), range(20)))
    (token,) = {answer.json()["token"] for answer in answers}
    assert store.status().participants == 1
    assert body["client_id"] not in token
    who = {"Authorization": f"Bearer {token}"}
    walked(client, who)
    assert client.post("/api/join", json=body).json()["token"] == token
    assert client.get("/api/trial", headers=who).json()["progress"]["done"] == 5
    assert store.status().participants == 1


@pytest.mark.parametrize(
    "client_id",
    ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 63 + "\n", "0" * 64 + "\n", 7, None],
)
def test_an_id_of_joining_that_could_be_guessed_is_refused_and_not_repeated(
    client, store, client_id
):
    answer = client.post("/api/join", json=joining() | {"client_id": client_id})
    assert answer.status_code == 422
    assert "000" not in answer.text
    assert store.status().participants == 0


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda file: file.write_bytes(file.read_bytes()[:100]),
        lambda file: file.write_bytes(b""),
    ],
)
def test_a_picture_that_was_lost_after_the_start_is_told_calmly_and_logged_once(
    client, store, folder, damage
):
    for file in (folder / "stimuli").iterdir():
        damage(file)
    who = joined(client)
    trial = client.get("/api/trial", headers=who).json()["trial"]
    answers = [client.get(f"/api/picture/{trial['left']}", headers=who) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [410] * 3
    detail = answers[0].json()["detail"]
    assert "You can skip this question" in detail
    assert not any(secret in detail for secret in (*METHODS, str(folder), ".png", "spoiled"))
    (event,) = store.events()
    assert event.kind == "missing picture"
    assert event.data["trial"] == trial["id"]
    assert event.data["of"] in METHODS
    owner = client.get("/api/owner/status", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert owner["events"] == {"missing picture": 1}
    assert (
        client.post(
            "/api/vote",
            json=vote(trial["id"], answers={}, skip_reason="pictures did not load"),
            headers=who,
        ).status_code
        == 200
    )
    assert client.get("/api/trial", headers=who).json()["trial"]["id"] != trial["id"]


@pytest.mark.parametrize(
    "path",
    [
        "/study.db",
        "/stimuli.json",
        "/stimuli/",
        "/../study.db",
        "/%2e%2e/study.db",
        "/api/picture/..%2f..%2fstudy.db",
        "/docs",
        "/openapi.json",
        "/api/owner/votes",
    ],
)
def test_no_file_and_no_other_address_is_served(client, path):
    assert client.get(path, headers=joined(client)).status_code == 404


def test_other_sites_and_long_requests_are_refused(client):
    who = joined(client)
    for headers in (
        {"Origin": "http://elsewhere.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.get("/api/trial", headers=who | headers).status_code == 403
    assert (
        client.get("/api/trial", headers=who | {"Origin": "http://127.0.0.1:7870"}).status_code
        == 200
    )
    assert (
        client.get(
            "/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        ).status_code
        == 200
    )  # a link in a mail
    answer = client.options(
        "/api/vote",
        headers={"Origin": "http://elsewhere.org", "Access-Control-Request-Method": "POST"},
    )
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.post("/api/vote", content=b"x" * 20_000, headers=who).status_code == 403
    assert (
        client.post("/api/vote", content=iter([b"x"]), headers=who).status_code == 403
    )  # of a length that it does not tell


@pytest.mark.parametrize(
    "address",
    ["https://uni.example.edu", "https://UNI.example.edu:443/", "https://uni.example.edu/s/"],
)
def test_behind_a_proxy_the_origin_of_the_address_counts_whatever_its_path(store, folder, address):
    client = TestClient(study_app(store, folder, address=address), base_url="http://127.0.0.1:7991")
    for origin, status in (
        ("https://uni.example.edu", 200),
        ("http://127.0.0.1:7991", 200),  # the page opened here, without the proxy
        ("https://other.example.edu", 403),
        ("http://uni.example.edu", 403),
        ("https://uni.example.edu:444", 403),
        ("https://uni.example.edu.evil.org", 403),
        ("https://uni.example.edu:x", 403),
        ("null", 403),
    ):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/join", json=joining(), headers=headers).status_code == status


def test_a_proxy_may_pass_the_host_with_the_port_of_the_scheme(client):
    headers = {"Origin": "https://uni.example.edu", "Host": "uni.example.edu:443"}
    assert client.post("/api/join", json=joining(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/study", "/a/b", "/api", "/mein stück"])
@pytest.mark.parametrize("removed", [True, False], ids=["removed", "passed on"])
def test_the_page_works_under_a_path_that_the_proxy_removes_or_not(store, folder, path, removed):
    address = f"https://uni.example.edu{quote(path)}"
    client = TestClient(study_app(store, folder, address=address), base_url="http://127.0.0.1:7991")
    before = "" if removed else path
    for asked in ("/", "/study.css", "/sending.js", "/person.js", "/study.js", "/api/study"):
        assert client.get(f"{before}{asked}").status_code == 200, asked
    told = client.post(f"{before}/api/join", json=joining()).json()
    who = {"Authorization": f"Bearer {told['token']}"}
    trial = client.get(f"{before}/api/trial", headers=who).json()["trial"]
    picture = client.get(f"{before}/api/picture/{trial['left']}", headers=who)
    assert picture.headers["content-type"] == "image/png"
    assert client.get(f"{before}/nothing").status_code == 404
    if not removed:
        found = client.get(path, follow_redirects=False)
        assert found.headers["location"] == f"{quote(path)}/"


def test_an_address_that_cannot_be_one_is_refused_at_the_start(store, folder):
    with pytest.raises(StudyError, match="--address is the page's public address, such as"):
        study_app(store, folder, address="uni.example.edu/study")


def test_every_answer_forbids_scripts_from_elsewhere_and_keeping(client):
    for path in ("/", "/study.js", "/person.js", "/sending.js", "/api/study", "/nothing"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["referrer-policy"] == "no-referrer"
    page = client.get("/").text
    assert not re.search(
        r"<script(?![^>]*\bsrc=)|\bon\w+=|style=", page
    )  # nothing inline, so that the policy can hold


def test_the_owners_page_wants_the_owners_token(client, store, folder):
    walked(client, joined(client))
    assert client.get("/api/owner/status").status_code == 401
    assert (
        client.get("/api/owner/status", headers={"Authorization": "Bearer wrong"}).status_code
        == 401
    )
    found = client.get("/api/owner/status", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert found["participants"] == 1
    assert found["trials"]["real"] == 3
    closed = TestClient(study_app(store, folder), base_url="http://127.0.0.1:7870")
    assert closed.get("/api/owner/status", headers={"Authorization": "Bearer "}).status_code == 401


def test_too_many_requests_are_told_to_wait(client):
    who = joined(client)
    codes = [client.get("/api/trial", headers=who).status_code for _ in range(250)]
    assert codes == [200] * 240 + [429] * 10
    assert "Retry-After" in client.get("/api/trial", headers=who).headers
    assert (
        client.get("/api/trial", headers=joined(client)).status_code == 200
    )  # of this participant alone
    owner = {"Authorization": f"Bearer {TOKEN}"}
    codes = [
        client.get("/api/owner/status", headers={"Authorization": "Bearer guess"}).status_code
        for _ in range(130)
    ]
    assert codes[-1] == 429
    assert client.get("/api/owner/status", headers=owner).status_code == 200


def test_a_picture_that_breaks_while_it_is_served_is_told_without_its_name(client, folder):
    who = joined(client)
    trial = client.get("/api/trial", headers=who).json()["trial"]
    for file in (folder / "stimuli").iterdir():
        file.unlink()
    answer = client.get(f"/api/picture/{trial['left']}", headers=who)
    assert answer.status_code == 410
    assert (
        "A picture is missing; the study's organiser has been notified" in answer.json()["detail"]
    )
    assert ".png" not in answer.text
    assert str(folder) not in answer.text
    assert not any(method in answer.text for method in METHODS)


def test_a_study_without_its_pictures_is_not_served(store, folder):
    sheets = json.loads((folder / "stimuli.json").read_text())
    next(iter((folder / "stimuli").iterdir())).unlink()
    with pytest.raises(StudyError, match=r"has no pictures to show .* create the study again"):
        study_app(store, folder)
    sheets["sheets"].pop(PROMPTS[0])
    (folder / "stimuli.json").write_text(json.dumps({"sheets": {}}))
    with pytest.raises(StudyError, match="there is no picture of secret-method-a for “a red fox”"):
        study_app(store, folder)
