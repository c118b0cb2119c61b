"""Where an object of JSON ends, found as its text comes."""

_OPENING, _CLOSING = "{[", "}]"


class ObjectEnd:
    """Follows the text of an object."""

    def __init__(self) -> None:
        """Begin before the object."""
        self._depth = 0
        self._is_text = False
        self._is_escaped = False
        self.is_reached = False

    def find(self, text: str) -> int:
        """How many characters of what comes next belong to the object."""
        for place, character in enumerate(text, 1):
            if self._is_text:
                self._read_in_text(character)
            else:
                self._read(character)
            if self.is_reached:
                return place
        return len(text)

    def _read_in_text(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        else:
            self._is_escaped = character == "\\"
            self._is_text = character != '"'

    def _read(self, character: str) -> None:
        self._is_text = character == '"'
        self._depth += (character in _OPENING) - (character in _CLOSING)
        self.is_reached = self._depth == 0 and character in _CLOSING
