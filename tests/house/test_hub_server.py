"""The test Hub's upload side, proved by the real client: what publishing will stand on."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

REPO = "user/lesions"
WEIGHTS = bytes(range(256)) * 100


pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "golden").mkdir(parents=True)
    (folder / "config.json").write_bytes(b'{"architecture": "tiny"}')
    (folder / "README.md").write_bytes(b"---\nlicense: mit\n---\n# card\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "golden" / "lesion.png").write_bytes(b"png")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_goes_up_in_one_commit_and_comes_down_again(server, bundle):
    api = HfApi()
    assert api.whoami()["name"] == "user"
    api.create_repo(REPO, private=True)
    before = api.model_info(REPO).sha
    info = api.upload_folder(repo_id=REPO, folder_path=bundle, commit_message="first")
    repo = server.repos[REPO]
    assert repo.private
    assert repo.commits[info.oid].parent == before
    assert repo.commits[info.oid].title == "first"
    down = Path(snapshot_download(REPO, revision=info.oid))
    assert {k: v for k, v in content(down).items() if k != ".gitattributes"} == content(bundle)
    assert len(server.seen("PUT /upload/")) == 2  # weights and picture, by LFS
    assert len(server.seen("POST /lfs-verify")) == 2
    assert {f.path for f in api.list_repo_tree(REPO, recursive=True)} >= {"golden", "golden/lesion.png"}
    assert [f.lfs.size for f in api.get_paths_info(REPO, ["model.safetensors"])] == [len(WEIGHTS)]


def test_unchanged_files_are_not_sent_again(server, bundle):
    api = HfApi()
    api.create_repo(REPO)
    first = api.upload_folder(repo_id=REPO, folder_path=bundle).oid
    sent = len(server.seen("PUT"))
    assert api.upload_folder(repo_id=REPO, folder_path=bundle).oid == first
    (bundle / "README.md").write_bytes(b"# another card\n")
    second = api.upload_folder(repo_id=REPO, folder_path=bundle).oid
    assert second != first
    assert len(server.seen("PUT")) == sent
    assert server.files(REPO)["model.safetensors"] == WEIGHTS


def test_a_pull_request_leaves_main_alone(server, bundle):
    sha = server.add_repo("other/repo", {"config.json": b"{}"})
    info = HfApi().upload_folder(repo_id="other/repo", folder_path=bundle, create_pr=True)
    assert info.pr_url == f"{server.url}/other/repo/discussions/1"
    assert info.pr_revision == "refs/pr/1"
    assert server.repos["other/repo"].refs["main"] == sha
    path = hf_hub_download("other/repo", "model.safetensors", revision="refs/pr/1")
    assert Path(path).read_bytes() == WEIGHTS


def test_branches(server, bundle):
    api = HfApi()
    server.add_repo(REPO, {"config.json": b"{}"})
    api.create_branch(REPO, branch="trial")
    api.upload_folder(repo_id=REPO, folder_path=bundle, revision="trial")
    assert {b.name for b in api.list_repo_refs(REPO).branches} == {"main", "trial"}
    assert "model.safetensors" not in server.files(REPO)
    assert server.files(REPO, "trial")["model.safetensors"] == WEIGHTS
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch(REPO, branch="trial")


def test_deleting(server):
    server.add_repo(REPO, {"a.txt": b"a", "dir/b.txt": b"b"})
    HfApi().delete_folder("dir", REPO)
    HfApi().delete_file("a.txt", REPO)
    assert server.files(REPO) == {}
    HfApi().delete_repo(REPO)
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info(REPO)


@pytest.mark.parametrize(("token", "status"), [("hf_read", 403), ("hf_unknown", 401), (False, 401)])
def test_who_may_not_write(server, bundle, token, status):
    server.add_repo(REPO, {})
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(token=token).upload_folder(repo_id=REPO, folder_path=bundle)
    assert caught.value.response.status_code == status
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(token=token).create_repo("user/new")
    assert caught.value.response.status_code == status
    assert server.files(REPO) == {}


def test_another_namespace_is_not_ones_own(server, bundle):
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().create_repo("other/new")


def test_creating_twice(server):
    HfApi().create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="409"):
        HfApi().create_repo(REPO)
    HfApi().create_repo(REPO, exist_ok=True)


def test_a_conflict_on_the_parent(server, bundle):
    parent = server.add_repo(REPO, {"config.json": b"{}"})
    server.commit(REPO, {"config.json": b"[]"})
    with pytest.raises(HfHubHTTPError, match="commit has happened since"):
        HfApi().upload_folder(repo_id=REPO, folder_path=bundle, parent_commit=parent)
    assert set(server.files(REPO)) == {"config.json"}


def test_a_cut_upload_leaves_nothing(server, bundle):
    sha = server.add_repo(REPO, {})
    server.fail("PUT /upload/", times=None, cut_at=100)
    with pytest.raises(Exception, match=r"model\.safetensors|lesion\.png"):
        HfApi().upload_folder(repo_id=REPO, folder_path=bundle)
    assert server.repos[REPO].refs["main"] == sha
    server.faults.clear()
    HfApi().upload_folder(repo_id=REPO, folder_path=bundle)
    assert server.files(REPO)["model.safetensors"] == WEIGHTS


def test_an_upload_that_is_cut_once_is_sent_again(server, bundle):
    server.add_repo(REPO, {})
    server.fail("PUT /upload/", cut_at=100)
    HfApi().upload_folder(repo_id=REPO, folder_path=bundle)
    assert server.files(REPO)["model.safetensors"] == WEIGHTS
