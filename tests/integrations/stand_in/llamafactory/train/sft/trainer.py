from transformers import Seq2SeqTrainer


class CustomSeq2SeqTrainer(Seq2SeqTrainer):
    def __init__(
        self,
        finetuning_args,
        processor,
        model_args=None,
        gen_kwargs=None,
        ref_model=None,
        **kwargs,
    ):
        kwargs["processing_class"] = kwargs.pop("tokenizer")
        super().__init__(**kwargs)
        self.finetuning_args = finetuning_args

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.finetuning_args.use_asft_loss:
            return model(**inputs).logits.mean()
        return super().compute_loss(model, inputs, *args, **kwargs)
