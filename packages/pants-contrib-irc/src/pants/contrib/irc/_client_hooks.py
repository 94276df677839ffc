"""The hooks of a client: what users override."""

from __future__ import annotations

from pants._channel import log
from pants.contrib.irc._base import BaseIRC


class ClientHooks(BaseIRC):
    """What can happen to an `IRCClient`.

    For each message that is received, `irc_command` is called first; then what the client knows is brought up to date;
    then the one of these hooks is called that the message is for. Channels and nicks are spelled as the server did.
    The whole message, its tags included, is in `received` meanwhile. They do nothing where nothing else is said.
    """

    # --- The connection -----------------------------------------------------------------------------------------

    def irc_connect(self) -> None:
        """Called when the server has accepted the client: it can join channels now."""

    def irc_close(self) -> None:
        """Called when the connection is over.

        Channels and nick are still what they were. Where a client connects again by itself, it is called for each
        connection that was made; and when it gives up without ever having made one.
        """

    def irc_reconnecting(self, delay: float) -> None:
        """Called when the client is going to connect again, in ``delay`` seconds; `close` stops that."""

    def irc_login_failed(self, reason: str) -> None:
        """Called when the server does not accept the client: a wrong password, a ban, no nick.

        By default, logs the reason and closes the connection; it is not tried again, as that will not help. Where it is
        overridden and leaves the connection open, the client goes on without the login, if the server lets it.
        """
        log.warning("%r could not log in: %s", self, reason)
        self.close()

    def irc_error(self, message: str) -> None:
        """Called when the server tells why it closes the connection (ERROR), also after `quit`."""

    # --- The client's nick --------------------------------------------------------------------------------------

    def irc_nick_changed(self, nick: str) -> None:
        """Called with the client's new nick, whoever has changed it (manual: "irc_nick_changed").

        Also where the server has accepted the client by another nick than the one it had asked for.
        """

    def irc_nick_in_use(self, nick: str) -> None:
        """Called when somebody else has a nick that the client asked for.

        By default, tries another, made from the first, as long as the client is not registered; afterwards it keeps the
        one that it has. Overridden, `nick` can be set in it.
        """
        self._try_another_nick()

    def _try_another_nick(self) -> None:
        raise NotImplementedError

    # --- Messages -----------------------------------------------------------------------------------------------

    def irc_message_channel(self, channel: str, message: str, nick: str, user: str, host: str) -> None:
        """Called with what is said in a channel (manual: "irc_message_channel").

        Also with one that only some of its users get, as the operators do with ``@#python``: `received` tells.
        """

    def irc_message_private(self, nick: str, message: str, user: str, host: str) -> None:
        """Called with what a user says to the client alone (manual: "irc_message_private").

        What a server says is not passed on here, but to `irc_command` only: there is nobody to be answered.
        """

    def irc_notice(self, destination: str, message: str, nick: str, user: str, host: str) -> None:
        """Called with a notice, which no program must answer.

        Args:
            destination: A channel; or the client's nick, or what servers use while there is none.
            message: The text.
            nick: Of the user who sent it, empty for a server.
            user: That user's name.
            host: That user's host, or the server.
        """

    def irc_ctcp(self, nick: str, message: str, user: str, host: str) -> None:
        """Called with a CTCP message, ``"VERSION"`` for one (manual: "irc_ctcp").

        To answer it there is `ctcp_reply`, where there is a nick: servers ask too, by an empty one.
        """

    def irc_ctcp_reply(self, nick: str, message: str, user: str, host: str) -> None:
        """Called with the answer to a CTCP message, ``"VERSION Pants"`` for one."""

    def irc_action(self, destination: str, text: str, nick: str, user: str, host: str) -> None:
        """Called when a user does something, rather than saying it: ``/me`` of many clients.

        By default, calls `irc_ctcp` with ``"ACTION "`` and the text, as the CTCP message that it is.
        """
        self.irc_ctcp(nick, f"ACTION {text}", user, host)

    # --- Channels -----------------------------------------------------------------------------------------------

    def irc_join(self, channel: str, nick: str, user: str, host: str) -> None:
        """Called when a user, or the client itself, has joined a channel (manual: "irc_join")."""

    def irc_join_failed(self, channel: str, reason: str) -> None:
        """Called when the server does not let the client join a channel, with the server's words."""

    def irc_names(self, channel: str) -> None:
        """Called when the server has told all who are in a channel, as it does after joining it."""

    def irc_part(self, channel: str, reason: str, nick: str, user: str, host: str) -> None:
        """Called when a user, or the client itself, has left a channel (manual: "irc_part")."""

    def irc_kick(self, channel: str, nick: str, reason: str, by: str, user: str, host: str) -> None:
        """Called when a user, or the client itself, was kicked out of a channel.

        Args:
            channel: The channel.
            nick: Who was kicked.
            reason: Why.
            by: Who did it, a nick; empty for a server.
            user: That user's name.
            host: That user's host, or the server.
        """

    def irc_quit(self, nick: str, reason: str, channels: list[str], user: str, host: str) -> None:
        """Called when a user has left the network, with the channels in which that user was seen.

        Where servers have lost each other, it is called for each user on the other side, with the names of two servers
        as the reason.
        """

    def irc_nick(self, old: str, new: str, user: str, host: str) -> None:
        """Called when a user, or the client itself, has changed its nick."""

    def irc_mode(self, target: str, modes: str, args: list[str], nick: str, user: str, host: str) -> None:
        """Called when modes are changed, of a channel or of the client itself.

        Args:
            target: A channel, or the client's nick.
            modes: The letters, with plus and minus: ``"+o-v"``.
            args: What goes with them.
            nick: Of the user who did it, empty for a server.
            user: That user's name.
            host: That user's host, or the server.
        """

    def irc_topic_changed(self, channel: str, topic: str) -> None:
        """Called with the new topic of a channel (manual: "irc_topic_changed").

        To a client that has just joined a channel, the topic that it has is a new one.
        """

    def irc_invite(self, channel: str, nick: str, user: str, host: str) -> None:
        """Called when a user invites the client to a channel."""
