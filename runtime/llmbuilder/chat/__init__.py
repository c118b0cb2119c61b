"""Chats: conversations, the form in which a model wants them, and `llmbuilder.chat.interface.ChatInterface`."""
