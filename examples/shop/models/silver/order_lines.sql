-- What was sold: each line with its product and its order, in euros, one partition for each month.
{{ config(partition_by='month(ordered_on)') }}

select
    l.order_line_id,
    l.order_id,
    l.product_id,
    p.name as product,
    p.category,
    o.customer_id,
    o.status,
    o.ordered_on,
    l.quantity,
    {{ euros('l.amount', 'o.exchange_rate') }} as amount_eur
from {{ source('shop', 'order_lines') }} l
join {{ ref('orders') }} o on o.order_id = l.order_id
left join {{ source('shop', 'products') }} p on p.product_id = l.product_id
