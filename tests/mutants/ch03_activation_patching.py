"""Answers to the exercises of chapter 3."""

import torch

from mutants.answers import right, wrong
from pathpatch import Node, Tokens, run

# ---- 3.2 one patch, for many prompts ----


def by_two_hooks(model, name, x_orig, x_new, where, change=None, source=None, output=False):
    """Keep a part of what a module takes (or gives) on x_new, and put it in on x_orig."""
    network, kept = model.original_model, {}
    module = network.get_submodule(name)

    def keep(module, inputs, *outputs):
        kept["z"] = (outputs[0] if output else inputs[0])[source or where].clone()

    def put(module, inputs, *outputs):
        changed = (outputs[0] if output else inputs[0]).clone()
        changed[where] = kept["z"] if change is None else change(kept["z"], changed[where])
        return changed

    add = module.register_forward_hook if output else module.register_forward_pre_hook
    for hook, ids in ((keep, x_new), (put, x_orig)):
        handle = add(hook)
        logits = network(ids).logits
        handle.remove()
    return logits


def columns(model, head):
    return slice(head * model.cfg.d_head, (head + 1) * model.cfg.d_head)


@right("3.2")
def with_a_head_axis_and_in_place(model, name, head, x_orig, x_new, at):
    """Views and in-place writes: nobody else reads the input of this module."""
    network = model.original_model
    module, kept = network.get_submodule(name), []

    def of_heads(inputs):
        return inputs[0].unflatten(-1, (-1, model.cfg.d_head))

    handle = module.register_forward_pre_hook(lambda m, x: kept.append(of_heads(x).clone()))
    network(input_ids=x_new)
    handle.remove()

    def put(module, inputs):
        for row, place in enumerate(at.tolist()):
            of_heads(inputs)[row, place, head] = kept[0][row, place, head]

    with_hook = module.register_forward_pre_hook(put)
    logits = network(input_ids=x_orig)[0]
    with_hook.remove()
    return logits


@right("3.2")
def with_the_hooks_of_transformer_lens(model, name, head, x_orig, x_new, at):
    layer = next(int(part) for part in name.split(".") if part.isdigit())
    point = f"blocks.{layer}.attn.hook_z"
    mask = torch.nn.functional.one_hot(at, x_orig.shape[1]).bool()[..., None]
    _, cache = model.run_with_cache(x_new)

    def put(z, hook):
        z = z.clone()
        z[:, :, head] = torch.where(mask, cache[point][:, :, head], z[:, :, head])
        return z

    return model.run_with_hooks(x_orig, fwd_hooks=[(point, put)])


@wrong("3.2", "index with `[rows, at]`, not `[:, at]`")
def mixed_up_the_prompts(model, name, head, x_orig, x_new, at):
    where = slice(None), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "at the position of the first prompt")
def frozen_at_one_position(model, name, head, x_orig, x_new, at):
    where = slice(None), int(at[0]), columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the last position is patched")
def as_on_the_page(model, name, head, x_orig, x_new, at):
    where = slice(None), -1, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "at all positions, and not at one")
def at_every_position(model, name, head, x_orig, x_new, at):
    where = slice(None), slice(None), columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "nothing is patched")
def heads_of_64_numbers(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head * 64, (head + 1) * 64)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "all heads of the layer are patched")
def the_whole_layer(model, name, head, x_orig, x_new, at):
    return by_two_hooks(model, name, x_orig, x_new, (torch.arange(len(at)), at))


@wrong("3.2", "every n-th number is taken for the head")
def every_nth_column(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head, None, model.cfg.n_heads)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the head is taken to begin at its own number")
def forgot_to_multiply(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head, head + model.cfg.d_head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the output of the module is patched")
def what_the_module_gives(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where, output=True)


@wrong("3.2", "the value is averaged over the prompts")
def the_mean_over_the_batch(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    mean = lambda new, old: new.mean(0)  # noqa: E731
    return by_two_hooks(model, name, x_orig, x_new, where, change=mean)


@wrong("3.2", "the new value is added to the old one")
def added_it(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where, change=lambda new, old: new + old)


@wrong("3.2", "x_orig and x_new have changed places")
def the_other_direction(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_new, x_orig, where)


@wrong("3.2", "hooks are left behind on the model")
def left_the_hook(model, name, head, x_orig, x_new, at):
    module = model.original_model.get_submodule(name)
    module.register_forward_pre_hook(lambda module, inputs: None)
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "which does the patch for you")
def called_run(model, name, head, x_orig, x_new, at):
    layer = next(int(part) for part in name.split(".") if part.isdigit())
    places = {"END": (x_orig != 0).sum(1) - 1, "here": at}
    h = Node("z", layer, head, at="here")
    a = run(model, Tokens(x_new, places), reads=[h])
    return run(model, Tokens(x_orig, places), reads=["logits"], writes=a)["logits"]


@wrong("3.2", "only the logits at END")
def only_the_end(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    logits = by_two_hooks(model, name, x_orig, x_new, where)
    return logits[torch.arange(len(at)), (x_orig != 0).sum(1) - 1]


@wrong("3.2", "your line")
def four_prompts_always(model, name, head, x_orig, x_new, at):
    where = torch.arange(4), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "nothing is patched")
def put_it_into_another_run(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    by_two_hooks(model, name, x_orig, x_new, where)
    return model.original_model(x_orig).logits
