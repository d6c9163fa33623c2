import socket

from service.supervise import free_port, port_taken


def test_a_port_somebody_listens_on_is_taken() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert port_taken(listener.getsockname()[1])


def test_a_free_port_is_not_taken() -> None:
    assert not port_taken(free_port())
