"""Connections by source: who has most, and who of them came first."""

from dataclasses import dataclass

from healthproxy.crowd import Crowd


@dataclass(eq=False)
class Guest:
    peer: str


def test_the_oldest_of_the_busiest_source_goes_first():
    crowd = Crowd[Guest]()
    guests = [Guest(peer) for peer in "abbab"]
    for guest in guests:
        crowd.add(guest)
    assert (crowd.size, crowd.most(), crowd.oldest_of_the_busiest()) == (5, 3, guests[1])
    assert crowd.remove(guests[1])
    assert crowd.remove(guests[2])
    assert crowd.oldest_of_the_busiest() is guests[0]


def test_whoever_has_left_is_forgotten_and_so_is_his_source():
    crowd = Crowd[Guest]()
    guest = Guest("a")
    crowd.add(guest)
    assert crowd.remove(guest)
    assert not crowd.remove(guest)
    assert (crowd.size, crowd.most(), list(crowd)) == (0, 0, [])


def test_guests_may_leave_while_all_are_gone_through():
    crowd = Crowd[Guest]()
    for peer in "abab":
        crowd.add(Guest(peer))
    for guest in crowd:
        crowd.remove(guest)
    assert crowd.size == 0
