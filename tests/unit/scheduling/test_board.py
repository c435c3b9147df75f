"""A board can be copied, and be claimed on as the database would be: what would be if, and nothing is."""

from msgspec.structs import replace

from renova.model.host import HostView
from renova.model.ids import HostId
from renova.scheduling.board import Board
from renova.scheduling.choose import rank
from renova.scheduling.request import Request

from .test_choose import view, wanted

A, B = HostId("id-of-a"), HostId("id-of-b")


def three() -> list[HostView]:
    units = {"VCPU": (1, 16, 1)}
    return [view("a", units=units, marks={"ssd": frozenset({"true"})}), view("b", zone="attic"), view("c", up=False)]


def said(board: Board, request: Request) -> tuple[list[str], str]:
    ranking = rank(request, board)
    return [host.name for host in ranking.hosts], ranking.explanation()


def test_a_copy_answers_as_the_board_does() -> None:
    board = Board(three())
    for request in (wanted(), wanted(zone="attic"), wanted(resources={"VCPU": 17}), wanted(traits=frozenset({"X"}))):
        assert said(board.copy(), request) == said(board, request)
    assert (board.copy().marks, board.copy().place(B)) == (frozenset({"ssd"}), 1)


def test_what_is_done_to_a_copy_is_not_done_to_the_board() -> None:
    board = Board(three())
    before, alike = list(board.views), said(board, wanted())
    copy = board.copy()
    copy.claim(A, {"VCPU": 16, "MEMORY_MB": 4096, "DISK_GB": 100})
    copy.put(replace(three()[1], up=False))
    copy.drop(HostId("id-of-c"))
    copy.put(view("d"))
    assert (board.views, said(board, wanted())) == (before, alike)
    assert said(copy, wanted())[0] == ["d"]


def test_a_claim_leaves_the_board_as_if_the_host_had_been_put_anew() -> None:
    board = Board(three())
    board.claim(A, {"VCPU": 3, "CUSTOM_GPU": 1})
    same = Board([replace(three()[0], used={"VCPU": 3, "CUSTOM_GPU": 1}, servers=1), *three()[1:]])
    assert board.views == same.views
    for name in ("VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_GPU"):
        assert board.free(name) == same.free(name)
    assert said(board, wanted(resources={"CUSTOM_GPU": 1})) == said(same, wanted(resources={"CUSTOM_GPU": 1}))


def test_a_host_is_found_by_its_name_wherever_it_has_come_to_be() -> None:
    board = Board(three())
    assert [board.named(name) for name in ("a", "b", "c", "d")] == [0, 1, 2, None]
    board.drop(A)  # the last one gets its place
    assert [board.named(name) for name in ("a", "b", "c")] == [None, 1, 0]
    board.drop(HostId("id-of-c"))
    board.drop(B)
    assert board.named("b") is None


def test_a_host_that_was_enrolled_anew_is_found_by_its_name_whichever_goes_or_comes_first() -> None:
    anew = replace(three()[0], id=HostId("id-of-another"))
    for steps in (("come", "go"), ("go", "come")):
        board = Board(three())
        for step in steps:
            board.put(anew) if step == "come" else board.drop(A)
        place = board.named("a")
        assert place is not None
        assert board.views[place].id == anew.id
