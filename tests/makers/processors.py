"""One repair of transformers 4.46.3."""

from transformers.generation import logits_process


def let_every_beam_see_the_prompt() -> None:
    """Let encoder_repetition_penalty act on every beam, as later versions do; 4.46.3 only reaches the first."""
    processor = logits_process.EncoderRepetitionPenaltyLogitsProcessor
    original = processor.__call__

    def call(self, input_ids, scores):
        self.encoder_input_ids = self.encoder_input_ids.expand(scores.shape[0], -1)
        return original(self, input_ids, scores)

    processor.__call__ = call
