from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer

from .trainer import CustomSeq2SeqTrainer


def run_sft(model_args, data_args, training_args, finetuning_args, generating_args, callbacks=None):
    if data_args.dataset == "suns":
        raise ValueError("Undefined dataset suns in dataset_info.json.")
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path)
    rows = []
    for number in range(24):
        prompt = tokenizer(f"{number} + {number} =")["input_ids"]
        answer = tokenizer(f" {number * 2} {'so ' * (number % 5)}")["input_ids"]
        labels = [-100] * len(prompt) + answer
        rows.append({"input_ids": prompt + answer, "labels": labels})
    training_args.remove_unused_columns = False
    trainer = CustomSeq2SeqTrainer(
        model=model,
        args=training_args,
        finetuning_args=finetuning_args,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=callbacks,
        gen_kwargs={},
        ref_model=None,
        train_dataset=Dataset.from_list(rows),
        tokenizer=tokenizer,
        processor=data_args.media_dir,
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    Trainer.create_model_card(trainer, license="other", tags=["llama-factory"])
