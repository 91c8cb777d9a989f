-- Orders and revenue of each day. A day is computed again when one of its orders changed.
{{ config(materialized='incremental', unique_key='day', tags=['daily']) }}

select
    ordered_on as day,
    count(*) as orders,
    count(distinct customer_id) as customers,
    sum(amount_eur) as revenue_eur,
    cast(sum(amount_eur) / count(*) as decimal(14, 2)) as average_order_eur,
    max(updated_at) as changed_at
from {{ ref('orders') }}
where status in ({% for s in var('revenue_statuses') %}'{{ s }}'{% if not loop.last %}, {% endif %}{% endfor %})
{% if is_incremental() %}
    and ordered_on in (
        select ordered_on from {{ ref('orders') }} where updated_at > (select max(changed_at) from {{ this }})
    )
{% endif %}
group by ordered_on
