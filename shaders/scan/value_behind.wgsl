// The value of a tensor at the step that the scan took before a lane's first, or `none` before the row's first.
fn tensor_behind(row: u32, start: u32, none: Value) -> Value {
    let end = row + params.length;
    if (REVERSE) {
        let behind = start + ITEMS;
        if (behind < end) {
            return tensor_value(behind);
        }
    } else if (start > row && start <= end) {
        return tensor_value(start - 1u);
    }
    return none;
}
